import importlib.util
from pathlib import Path

from normlab.catalogue.norms import NORMS
from normlab.catalogue.placements import PLACEMENTS

SCRIPT = Path(__file__).parents[2] / "scripts" / "catalogue.py"


def test_the_catalogue_for_people_is_current_and_whole():
    spec = importlib.util.spec_from_file_location("catalogue", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    written = script.TARGET.read_text(encoding="utf-8")
    assert written == script.text(), "run python scripts/catalogue.py"
    assert all(f"| `{name}` |" in written for name in (*NORMS, *PLACEMENTS))
