"""Writes emoji/*.png and emoji.json: Noto Color Emoji's bitmaps (OFL-1.1) under CLDR's short names."""

import io
import json
import os
import re
import xml.etree.ElementTree as ET

from fontTools.ttLib import TTFont
from PIL import Image

FONT = "/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf"
CLDR = "/usr/share/unicode/cldr/common"


def read_names():
    """Code points as text -> CLDR short name."""
    names = {}
    for part in ("annotations", "annotationsDerived"):
        for a in ET.parse(f"{CLDR}/{part}/en.xml").iter("annotation"):
            if a.get("type") == "tts":
                names[a.get("cp").replace("\ufe0f", "")] = a.text
    return names


def plain(name):
    return re.sub(r"[^a-z0-9 '-]", "", name.lower().replace("’", "'"))


def main():
    font = TTFont(FONT)
    glyphs, strike = font.getBestCmap(), font["CBDT"].strikeData[0]
    os.makedirs("emoji", exist_ok=True)
    out, seen = [], set()
    for code, name in read_names().items():
        glyph = glyphs.get(ord(code)) if len(code) == 1 else None
        name = plain(name)
        if glyph not in strike or name in seen:
            continue
        seen.add(name)
        file = f"emoji/{ord(code):05x}.png"
        Image.open(io.BytesIO(strike[glyph].imageData)).convert("RGBA").save(file)
        out.append({"name": name, "file": file})
    with open("emoji.json", "w") as f:
        json.dump(out, f, indent=0)
    print(len(out), "pictures")


if __name__ == "__main__":
    main()
