"""Who may say what runs here: signatures of bundles, keys that change, bundles that are revoked."""
