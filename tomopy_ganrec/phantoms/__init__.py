"""Test objects, the same from the same seed on every machine and at every size."""

from .head import shepp_logan
from .pores import ZEOLITE_FIELD_OF_VIEW, foam, zeolite
from .rock import shale, textured

__all__ = ["OBJECTS", "ZEOLITE_FIELD_OF_VIEW", "foam", "shale", "shepp_logan", "textured", "zeolite"]

OBJECTS = {"shale": shale, "foam": foam, "zeolite": zeolite, "textured": textured}
