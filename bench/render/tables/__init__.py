"""The numbers as people read them: text tables, marks, subtitles."""
