"""The outside services Rowlift calls: one file each, and in `base.py` what all their outcomes look like."""
