"""What is raised for arrays on CUDA devices alone."""


class CudaError(RuntimeError):
    """What CUDA or one of its libraries says when a call fails."""


class CudaUnavailable(CudaError):
    """Raised for an array on a CUDA device where CUDA cannot be used; the message says why."""
