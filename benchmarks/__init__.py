"""The per-device benchmark: `suite` and `report`; `studies` and `evidence` are not in the wheel."""
