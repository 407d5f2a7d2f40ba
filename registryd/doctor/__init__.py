"""`registryd doctor`: is it on, does it work, and if not, what is to be done?

One module per subject: each looks at one thing, explains what it found, and depends on no other. The patient is what
they look at; nothing here changes anything, but for the trial pull, which takes away what it brought.
"""
