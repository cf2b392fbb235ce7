"""Arrays on CUDA devices, by cuSOLVER and cuBLAS; nothing of it is loaded before the first one."""

from ._errors import CudaError, CudaUnavailable

__all__ = ["CudaError", "CudaUnavailable"]
