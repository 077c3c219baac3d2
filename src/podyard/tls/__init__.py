"""What a TLS server of podyard serves with.

selfsigned    a certificate that podyard makes itself: made, kept, renewed
certificate   a given pair of files or that one, read again when it changes
"""

from podyard.tls.certificate import Certificate, GivenPair, Pair
from podyard.tls.selfsigned import SelfSignedPair

__all__ = ["Certificate", "GivenPair", "Pair", "SelfSignedPair"]
