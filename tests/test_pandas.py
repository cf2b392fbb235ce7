"""DataFrames of pandas give an ndarray, as they do in NumPy."""

import numpy as np
import pandas as pd

from batchpinv import pinv


def test_data_frames_give_ndarrays():
    frame = pd.DataFrame({"a": [1.0, 2.0, 3.0], "b": [0.0, 1.0, 0.0]}, index=list("xyz"))
    found = pinv(frame)
    assert type(found) is type(np.linalg.pinv(frame)) is np.ndarray
    np.testing.assert_array_equal(found, pinv(frame.to_numpy()))
