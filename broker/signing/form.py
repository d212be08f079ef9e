"""What an alert's XML signature must look like before any of it is computed.

XML signatures can say far more than CAP needs: sign parts, sign things elsewhere, compute what to sign. All that
is where wrapping attacks live, so one form is taken and every other is refused (CAP 1.2, 3.3.4.1; XML Signature
Syntax and Processing 1.1, 4 to 6): one enveloped Signature, the last child of the alert, with one Reference to the
whole document.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from lxml import etree
from signxml.algorithms import CanonicalizationMethod, DigestAlgorithm, SignatureMethod

from broker.cap import names
from broker.cap.limits import Limits
from broker.cap.xml import safe_root
from broker.errors import Problem

DS: Final = "{" + names.XML_SIGNATURE + "}"
ENVELOPED: Final = names.XML_SIGNATURE + "enveloped-signature"
SIGNATURE_METHODS: Final = frozenset(
    {
        SignatureMethod.ECDSA_SHA256,
        SignatureMethod.ECDSA_SHA384,
        SignatureMethod.ECDSA_SHA512,
        SignatureMethod.RSA_SHA256,
        SignatureMethod.RSA_SHA384,
        SignatureMethod.RSA_SHA512,
        SignatureMethod.SHA256_RSA_MGF1,
        SignatureMethod.SHA384_RSA_MGF1,
        SignatureMethod.SHA512_RSA_MGF1,
    }
)
"""No SHA-1 and SHA-224, no DSA; no HMAC, with which whoever knows the public key could sign."""
DIGESTS: Final = frozenset({DigestAlgorithm.SHA256, DigestAlgorithm.SHA384, DigestAlgorithm.SHA512})

_METHODS: Final = frozenset(method.value for method in SIGNATURE_METHODS)
_DIGESTS: Final = frozenset(digest.value for digest in DIGESTS)
_CANONICAL: Final = frozenset(method.value for method in CanonicalizationMethod)
EXCLUSIVE: Final = "http://www.w3.org/2001/10/xml-exc-c14n#"
ROOTS: Final = frozenset(f"{{{space}}}alert" for space in (names.CAP_1_2, names.CAP_1_1, names.CAP_1_0))
_MOST_ELEMENTS: Final = 60
"""In a Signature; one with three certificates has 20."""
_MOST_NAMESPACES: Final = 64
"""Declarations in the document: canonicalization takes time with their square for every element."""
_BASE64: Final = re.compile(r"[A-Za-z0-9+/\s]+={0,2}\s*", re.ASCII)

ALERT: Final = "/alert"
SIGNATURE: Final = "/alert/Signature"
SIGNED_INFO: Final = SIGNATURE + "/SignedInfo"
REFERENCE: Final = SIGNED_INFO + "/Reference"


def open_alert(data: bytes, limits: Limits) -> tuple[etree._Element | None, list[Problem]]:
    """The document's root, or what kept it from being read; the guards of `broker.cap` go first.

    They decode just as they do for whoever reads the alert afterwards, and refuse a document type declaration,
    and so every entity, before an XML parser sees the bytes.
    """
    root, findings = safe_root(data, limits)
    if root is None:
        return None, [
            Problem(finding.place, "signature.unreadable", f"{finding.message} [{finding.rule}]")
            for finding in findings
        ]
    spaces = sum(1 for _ in etree.iterwalk(root, events=("start-ns",)))
    if spaces > _MOST_NAMESPACES:
        message = (
            f"the document declares {spaces} namespaces, at most {_MOST_NAMESPACES} are taken when it is signed"
        )
        return root, [Problem(ALERT, "signature.unreadable", message)]
    return root, []


def signature_elements(root: etree._Element) -> list[etree._Element]:
    """Every element of XML Signature that does not stand inside another one."""
    return [
        element
        for element in root.iter(DS + "*")
        if not any(above.tag.startswith(DS) for above in element.iterancestors())
    ]


def form_problems(root: etree._Element, found: list[etree._Element]) -> Iterator[Problem]:
    """Everything in which the document and its signature are not of the one form that is taken."""
    if root.tag not in ROOTS:
        message = "the outermost element must be the alert itself: a signature covers one alert, no feed"
        yield Problem("/" + etree.QName(root).localname, "signature.root", message)
        return
    yield from _around(root)
    if len(found) > 1:
        message = f"there are {len(found)} signatures; which of them counts would be a guess"
        yield Problem(ALERT, "signature.duplicate", message)
    [signature, *_] = found
    if signature.tag != DS + "Signature":
        message = f"{etree.QName(signature).localname} of XML Signature stands outside of a Signature"
        yield Problem(ALERT, "signature.form", message)
        return
    children = [child for child in root if isinstance(child.tag, str)]
    if signature.getparent() is not root or children[-1] is not signature:
        yield Problem(ALERT, "signature.position", "the signature must be the last child of the alert")
    yield from _signature(signature)


def _around(root: etree._Element) -> Iterator[Problem]:
    """What a reader might act on although the signature does not cover it."""
    if root.xpath("/processing-instruction()"):
        # A style sheet named here could show a reader of the file something else than what was signed.
        message = "a processing instruction outside of the alert is not covered by the signature"
        yield Problem("/", "signature.coverage", message)
    alerts = [element for element in root.iter("{*}alert") if element is not root]
    if alerts:
        message = "an alert within the alert; only the outermost may be read, so there must be no other"
        yield Problem(ALERT, "signature.nested", message)


def _signature(signature: etree._Element) -> Iterator[Problem]:
    elements = [*signature.iter()]
    if len(elements) > _MOST_ELEMENTS:
        message = f"the signature has {len(elements)} elements, at most {_MOST_ELEMENTS} are taken"
        yield Problem(SIGNATURE, "signature.form", message)
        return
    if any(not isinstance(element.tag, str) for element in elements):
        # Readers differ in whether a value goes on after them.
        message = "comments and processing instructions have no place in a signature"
        yield Problem(SIGNATURE, "signature.form", message)
        return
    names_found = [_name(child) for child in signature]
    if names_found not in (["SignedInfo", "SignatureValue"], ["SignedInfo", "SignatureValue", "KeyInfo"]):
        message = "a signature holds SignedInfo, SignatureValue and perhaps KeyInfo, in this order and nothing else"
        yield Problem(SIGNATURE, "signature.form", message, ", ".join(names_found))
        return
    yield from _value(signature[1], SIGNATURE + "/SignatureValue")
    yield from _signed_info(signature[0])


def _signed_info(info: etree._Element) -> Iterator[Problem]:
    found = [_name(child) for child in info]
    if found[:2] != ["CanonicalizationMethod", "SignatureMethod"] or any(name != "Reference" for name in found[2:]):
        message = "SignedInfo holds CanonicalizationMethod, SignatureMethod and one Reference, in this order"
        yield Problem(SIGNED_INFO, "signature.form", message, ", ".join(found))
        return
    yield from _canonical(info[0], SIGNED_INFO + "/CanonicalizationMethod", "signature.canonicalization")
    method = info[1].get("Algorithm", "")
    if method not in _METHODS or len(info[1]):
        message = "signatures are made with ECDSA or RSA over SHA-256, SHA-384 or SHA-512, without parameters"
        yield Problem(SIGNED_INFO + "/SignatureMethod", "signature.algorithm", message, method)
    if len(found) != 3:
        message = f"there are {len(found) - 2} references, there must be one, to the whole document"
        yield Problem(SIGNED_INFO, "signature.reference", message)
        return
    yield from _reference(info[2])


def _reference(reference: etree._Element) -> Iterator[Problem]:
    uri = reference.get("URI")
    if uri != "":
        message = 'the reference must be to the whole document, URI=""; a part, or something elsewhere, is refused'
        yield Problem(REFERENCE, "signature.reference", message, uri)
    found = [_name(child) for child in reference]
    if found != ["Transforms", "DigestMethod", "DigestValue"]:
        message = "a reference holds Transforms, DigestMethod and DigestValue, in this order"
        yield Problem(REFERENCE, "signature.form", message, ", ".join(found))
        return
    yield from _transforms(reference[0])
    digest = reference[1].get("Algorithm", "")
    if digest not in _DIGESTS or len(reference[1]):
        message = "digests are SHA-256, SHA-384 or SHA-512"
        yield Problem(REFERENCE + "/DigestMethod", "signature.digest.algorithm", message, digest)
    yield from _value(reference[2], REFERENCE + "/DigestValue")


def _transforms(transforms: etree._Element) -> Iterator[Problem]:
    place = REFERENCE + "/Transforms"
    algorithms = [child.get("Algorithm", "") for child in transforms]
    names_found = {_name(child) for child in transforms}
    if names_found != {"Transform"} or algorithms[:1] != [ENVELOPED] or len(algorithms) > 2 or len(transforms[0]):
        message = "the transforms are enveloped-signature and perhaps one canonicalization after it, nothing else"
        yield Problem(place, "signature.transform", message, " ".join(algorithms))
        return
    if len(algorithms) == 2:
        yield from _canonical(transforms[1], place + "/Transform[2]", "signature.transform")


def _canonical(element: etree._Element, place: str, rule: str) -> Iterator[Problem]:
    """Inclusive or exclusive; with comments or without is the same, for a whole document is signed without them.

    `broker.cap` reads texts across comments, so that one that is put in changes no value.
    """
    algorithm = element.get("Algorithm", "")
    if algorithm not in _CANONICAL:
        yield Problem(
            place, rule, "the algorithm must be Canonical XML 1.0 or 1.1, inclusive or exclusive", algorithm
        )
    prefixes = f"{{{EXCLUSIVE}}}InclusiveNamespaces"
    if [child.tag for child in element] not in ([], [prefixes]):
        yield Problem(place, rule, "canonicalization takes no parameter but InclusiveNamespaces", algorithm)


def _value(element: etree._Element, place: str) -> Iterator[Problem]:
    if len(element) or not _BASE64.fullmatch(element.text or ""):
        yield Problem(place, "signature.form", "the value must be Base64 and nothing else")


def _name(element: etree._Element) -> str:
    """The local name within XML Signature; the full one of anything foreign, which then fits nowhere."""
    return element.tag.removeprefix(DS)
