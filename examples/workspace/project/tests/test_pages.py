import tempfile
import unittest
from pathlib import Path

import fieldnotes
import tinymark


class Pages(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.site = Path(folder.name) / "site"

    def test_every_note_has_a_page_and_a_line_in_the_index(self):
        notes = Path(__file__).parent.parent / "notes"
        titles = fieldnotes.build(notes, self.site)
        index = (self.site / "index.html").read_text()
        self.assertEqual(titles, ["Heron", "Larch", "Moss & stone"])
        for note in notes.glob("*.txt"):
            self.assertTrue((self.site / f"{note.stem}.html").exists())
            self.assertIn(f'href="{note.stem}.html"', index)

    def test_markup(self):
        self.assertEqual(
            tinymark.to_html("# A & B\n\nof *this* and\nthat\n"),
            "<h1>A &amp; B</h1>\n<p>of <em>this</em> and\nthat</p>",
        )


if __name__ == "__main__":
    unittest.main()
