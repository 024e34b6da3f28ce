"""Everything here needs transformers."""

import pytest

pytest.importorskip("transformers")
