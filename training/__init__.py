"""Making models from what was seen and labelled, and measuring them. Needs the extra `train`; scoring does not."""

from importlib.util import find_spec

from detection.errors import TrainingError

if not all(map(find_spec, ("lightgbm", "numpy", "sklearn"))):
    msg = "training needs LightGBM, NumPy and scikit-learn: pip install 'fraud-streams[train]'"
    raise TrainingError(msg)
