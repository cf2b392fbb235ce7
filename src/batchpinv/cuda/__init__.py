"""Arrays on CUDA devices, by cuSOLVER and cuBLAS, which are loaded for the first such array."""

from ._errors import CudaError, CudaUnavailable

__all__ = ["CudaError", "CudaUnavailable"]
