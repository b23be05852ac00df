"""Models as data: forests of trees in files, their scores and the explanations of those. No learning library."""
