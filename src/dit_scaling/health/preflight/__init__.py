"""Checks of everything before training: no GPU hour on a broken protocol.

Every check runs the code that training and sampling run, and compares it with a closed form or with the source images.
"""
