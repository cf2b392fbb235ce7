import numpy as np
from numpy.typing import NDArray

_Numbers = NDArray[np.float64]

class Row:
    def __init__(self, method: str, eps: float, m: int, n: int) -> None: ...
    @property
    def absolute(self) -> float: ...
    @property
    def relative(self) -> float: ...
    def decide_values(
        self, values: _Numbers, errors: _Numbers, atol: _Numbers, rtol: _Numbers
    ) -> NDArray[np.bool_]: ...
    def decide_inverses(
        self,
        norms: _Numbers,
        inverse_norms: _Numbers,
        residuals: _Numbers,
        atol: _Numbers,
        rtol: _Numbers,
    ) -> NDArray[np.bool_]: ...
    def decide_grams(
        self, norms: _Numbers, inverse_norms: _Numbers, atol: _Numbers, rtol: _Numbers
    ) -> NDArray[np.bool_]: ...
