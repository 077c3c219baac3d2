"""Whether an image may run here: containers' policy.json, and sigstore signatures in the image's repository.

policy.py    which requirements a reference has to meet
sigstore.py  signatures: fetched, verified, compared with what was pulled
keys.py      public keys (the extra "signatures": pip install podyard[signatures])
"""
