"""Downloads of the benchmarks' original data: manifest with licenses, resumable and checked downloads, unpacking."""

from sdar_gym.downloads.fetch import FetchResult, fetch
from sdar_gym.downloads.files import DataError
from sdar_gym.downloads.manifest import DATA_SETS, DataFile, DataSet, data_set

__all__ = ["DATA_SETS", "DataError", "DataFile", "DataSet", "FetchResult", "data_set", "fetch"]
