"""Every rule of the national profile: what must hold, and its grade in each posture."""

from __future__ import annotations

from broker.cap.findings import Grade, Rule
from broker.cap.profiles.profile import catalogue

_E, _W, _I = Grade.ERROR, Grade.WARNING, Grade.INFO
_FORMAT = "12379 CAP-style XML"
_CODES = "GB/T 35965.1"
_EVENTS = "GB/T 35561"
_HOUSE = "house rule"

RULES = catalogue(
    # the document
    Rule("national.root", "The outermost element is alert, or is named after the message type.", _FORMAT),
    Rule("national.namespace", "Elements have no namespace, or all have http://com.icss.amp.", _FORMAT),
    Rule("national.element.missing", "A required element is there and says something.", _FORMAT),
    Rule("national.element.unknown", "Only elements of the format occur, each in its place.", _FORMAT, _E, _W),
    Rule("national.element.repeated", "An element occurs no more often than the format allows.", _FORMAT),
    Rule("national.element.order", "Elements stand in the order of the format.", _FORMAT, _W, _I),
    Rule("national.element.empty", "An optional element that is sent says something.", _FORMAT, _I, _I),
    Rule("national.element.text", "Between the members of an element there is no text.", _FORMAT, _E, _W),
    # the message
    Rule("national.identifier.form", "identifier is ZZZZZZDDDUUUXX_YYYYMMDDhhmmss[_N].", _CODES, _E, _W),
    Rule("national.identifier.sender", "identifier begins with senderCode.", _CODES, _E, _W),
    Rule("national.identifier.time", "identifier holds the second of sendTime.", _CODES, _W, _I),
    Rule("national.senderCode.form", "senderCode has 14 characters, ZZZZZZDDDUUUXX.", _CODES, _E, _W),
    Rule("national.sender.name", "The sending unit is named.", _FORMAT),
    Rule("national.status.reserved", "status is Actual or Test; the others are reserved.", _FORMAT, _W, _I),
    Rule("national.status.value", "status is Actual, Test, Exercise or Draft.", _FORMAT),
    Rule("national.msgType.reserved", "msgType is Alert, Update or Cancel; Ack and Error are reserved.", _FORMAT),
    Rule("national.scope.public", "scope is Public.", _FORMAT),
    Rule("national.secClassification.value", "secClassification is None or Inner.", _FORMAT),
    Rule("national.secClassification.inner", "An internal message does not reach the public.", _FORMAT, _I, _I),
    Rule("national.note.cancel", "A Cancel gives its reason in note.", _FORMAT, _W, _I),
    Rule("national.references.required", "Update and Cancel name the first message of the event.", _FORMAT),
    Rule("national.references.unresolvable", "references is an identifier that tells sender and time.", _FORMAT),
    Rule("national.references.several", "references names one message, the first.", _FORMAT, _W, _I),
    Rule("national.method.absent", "A message names the channels it is for.", _FORMAT, _W, _I),
    Rule(
        "national.methods.apart", "Channels and groups that the sender names are kept beside CAP.", _HOUSE, _I, _I
    ),
    Rule("national.recipients.apart", "Single recipients are kept out of CAP.", _HOUSE, _I, _I),
    Rule("national.conflict", "Type, status, code, colour and headline say the same.", _HOUSE),
    # the info
    Rule("national.language.default", "An info without language is in zh-CN.", _FORMAT, _I, _I),
    Rule("national.language.other", "An info is in zh-CN.", _FORMAT, _W, _I),
    Rule("national.language.none", "A message has an info in zh-CN.", _FORMAT),
    Rule("national.eventType.form", "eventType is five characters of the national list.", _EVENTS, _E, _W),
    Rule("national.event.code", "An info has its national event code.", _EVENTS),
    Rule("national.event.name", "The name of the event can be read from the headline.", _FORMAT, _I, _I),
    Rule("national.urgency.default", "Without a value urgency is Unknown.", _FORMAT, _I, _I),
    Rule("national.certainty.default", "Without a value certainty is Unknown.", _FORMAT, _I, _I),
    Rule("national.severity.value", "severity is Red, Orange, Yellow, Blue or Unknown.", _FORMAT),
    Rule("national.severity.case", "The colour is written with one capital.", _FORMAT, _W, _I),
    Rule("national.time.format", "A time is yyyy-MM-dd HH:mm:ss+08:00.", _FORMAT),
    Rule("national.time.offset", "A time tells its offset from UTC.", _FORMAT),
    Rule("national.time.zone", "Times are Beijing time.", _FORMAT, _W, _I),
    Rule("national.time.separator", "Between date and time there is a space.", _FORMAT, _I, _I),
    Rule("national.effective.absent", "An info says when it was signed.", _FORMAT, _I, _I),
    Rule("national.signatory.absent", "An info names the officer who signed.", _FORMAT),
    Rule("national.headline.rule", "The headline is sender, 发布 or 解除, event, colour, 预警.", _FORMAT, _W, _I),
    Rule("national.geocode.form", "A geocode has 6 or 12 digits, or 14 that end in 00.", _FORMAT),
    Rule("national.geocode.long", "A geocode of 14 digits is its first 12.", _FORMAT, _I, _I),
    Rule("national.geocode.many", "A message has no more division codes than the limit.", _HOUSE),
    Rule("national.geocode.required", "An area has a national division code.", _FORMAT),
    Rule("national.resource.mimeType", "The kind of a file is known from its name.", _HOUSE, _I, _I),
    # what an export cannot say
    Rule("national.lost", "What the message says can be said in the national format.", _FORMAT, _W, _I),
    Rule("national.levels.several", "File name and headline name one level.", _FORMAT, _W, _I),
)
