"""The national CAP-style XML of China's warning release system: reading, writing, its Ack file, its lint."""

from __future__ import annotations

from broker.cap.profiles.national.ack import read_ack as read_ack
from broker.cap.profiles.national.converting import Method as Method
from broker.cap.profiles.national.lint import NATIONAL as NATIONAL
from broker.cap.profiles.national.reading import NationalReading as NationalReading
from broker.cap.profiles.national.reading import is_national as is_national
from broker.cap.profiles.national.reading import read_national as read_national
from broker.cap.profiles.national.writing import attachment_name as attachment_name
from broker.cap.profiles.national.writing import file_name as file_name
from broker.cap.profiles.national.writing import to_national as to_national
