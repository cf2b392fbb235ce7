"""The exceptions that only arrays on CUDA devices raise."""


class CudaError(RuntimeError):
    """Raised if CUDA or one of its libraries fails, or cannot take a call; the message says why."""


class CudaUnavailable(CudaError):
    """Raised for an array on a CUDA device if CUDA cannot be used; the message says why."""
