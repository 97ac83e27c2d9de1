"""The example of one's own tables runs as it stands."""

import runpy
from pathlib import Path

EXAMPLE = Path(__file__).parents[3] / "examples" / "your_own_dataframe.py"


def test_your_own_dataframe_ends_in_tables_and_recommendations_with_outside_ids(capsys, recwarn):
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    shown = capsys.readouterr().out
    assert "uniform_test" in shown
    assert "F1 of both" in shown
    assert shown.count("c001") == 3
    assert not recwarn.list
