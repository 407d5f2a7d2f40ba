"""OCI archives: an image layout as one tar file, with one image or many, into and out of any store.

`stream` gives bytes in order and unpacked, `tar` the files in them, `contents` checks what the files add up to,
`reading` and `writing` move them through the contracts of `registryd.content`. An archive is never trusted: nothing
of it reaches the store before all of it has been checked.
"""
