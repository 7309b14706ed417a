"""Every error this package raises on purpose.

TofaError
├── BundleError       a .tofa file that is damaged, hostile, too new, or cannot be written
│   └── TrustError    one that is not signed as wanted, expired, older or revoked; a key, a policy
├── SpaceError        a search space that contradicts itself
│   └── SubnetError   a subnet that its search space does not contain
├── ImageError        an image that cannot be read or has the wrong mode, type or shape
├── CameraError       a camera that gives no frame in time
├── DataError         a folder of training images that cannot be used
├── TrainingError     training that cannot start or go on
├── ProfileError      a device profile that is damaged, too new, of another device, or not written
├── ExportError       a file for other programs that cannot be written, or would replace another
├── BackendError      an engine that is missing, refuses, or computes wrong numbers
├── LatencyError      latencies that cannot be predicted from what was given
├── InstallError      a bundle that failed its trial, or a folder that none can be installed in
└── BudgetError       no measured network is within the budget
    └── LimitError    a limit is no number above 0, or limits contradict each other

A message says what was wanted, what came, and what to do.
"""

from __future__ import annotations


class TofaError(Exception):
    """The root: catch it to catch everything this package raises on purpose."""


class BundleError(TofaError):
    """A bundle is damaged, hostile, of a newer schema, or cannot be written."""


class TrustError(BundleError):
    """A bundle is not signed as wanted, expired, older or revoked; or a key or policy is wrong."""


class InstallError(TofaError):
    """A bundle is not installed: its trial failed, or the folder or machine cannot take it."""


class SpaceError(TofaError, ValueError):
    """A search space contradicts itself or is outside the supported bounds."""


class SubnetError(SpaceError):
    """A subnet makes a choice that its search space does not offer."""


class ImageError(TofaError, ValueError):
    """An image cannot be read, or has another type, mode or shape than supported."""


class CameraError(TofaError):
    """A source of frames gave none within the time allowed; it may give one later."""


class DataError(TofaError):
    """A data set cannot be used for training or evaluation."""


class TrainingError(TofaError):
    """Training cannot start or cannot go on."""


class ProfileError(TofaError):
    """A device profile is damaged, of a newer schema, of another device, or cannot be written."""


class ExportError(TofaError):
    """A file for other programs exists already, cannot be written, or has an unknown format."""


class BackendError(TofaError):
    """An engine is missing, refuses a network, or computes wrong numbers."""


class LatencyError(TofaError, ValueError):
    """Features, priors or measurements from which no latency can be predicted."""


class BudgetError(TofaError):
    """No measured network is within the budget; the message names the fastest one measured."""


class LimitError(BudgetError, ValueError):
    """A limit is no number in its range, or limits contradict each other: no device could help."""
