"""The rule against requirements that people would, and would not, call duplicates."""

import pytest

from plumbline_search.embedding.embedder import Embedder
from plumbline_search.searches import duplicates

# Each with the service that both are of; labelled before the rule was measured.
SAME = [
    ("Checkout answers fast", "When a customer pays, the checkout shall answer within 300 ms.",
     "Fast checkout", "The checkout shall answer within 500 ms when a customer pays."),
    ("Checkout answers fast", "When a customer pays, the checkout shall answer within 300 ms.",
     "Checkout latency", "The checkout shall respond to payments in under 300 milliseconds."),
    ("Search is available", "The search shall answer 99.9 % of requests over 30 days.",
     "Availability of search", "99.9 % of search requests over 30 days shall be answered."),
    ("Login works", "The login shall succeed for 99.95 % of valid credentials.",
     "Sign-in success rate", "99.95 % of sign-ins with valid credentials shall succeed."),
    ("Invoices are sent in time", "The billing service shall send each invoice within 24 hours.",
     "Billing sends invoices within a day", "Every invoice shall be sent by billing within one day."),
    ("Backups are restorable", "A backup shall be restorable within 4 hours.",
     "Restore time", "The database shall be restored from a backup in less than 4 hours."),
    ("Queue lag stays low", "The order queue shall not lag more than 60 s.",
     "Order queue delay", "Messages in the order queue shall be consumed within 60 seconds."),
    ("No order is lost", "Every accepted order shall be stored durably before it is acknowledged.",
     "Orders are durable", "An order shall be acknowledged only after it is durably stored."),
    ("API error rate", "The public API shall answer fewer than 0.1 % of requests with 5xx.",
     "Few server errors", "Less than 0.1 % of the public API's responses shall be server errors."),
    ("Disk space", "Hosts shall keep 20 % of disk free.",
     "Free disk space", "At least 20 percent of the disk of each host shall be free."),
    ("Cache hit ratio", "The cache shall serve 90 % of reads.",
     "Cache hits", "90 % of reads shall be answered from the cache."),
    ("Certificates do not expire", "TLS certificates shall be renewed 14 days before they expire.",
     "Certificate renewal", "Each TLS certificate shall be renewed at least two weeks before expiry."),
    ("Pages load quickly", "The home page shall be interactive within 2 s for 95 % of visits.",
     "Home page load time", "95 % of visits to the home page shall be interactive in 2 seconds."),
]  # fmt: skip
OTHERS = [
    ("Checkout answers fast", "When a customer pays, the checkout shall answer within 300 ms.",
     "Checkout is available", "The checkout shall answer 99.9 % of requests over 30 days."),
    ("Login works", "The login shall succeed for 99.95 % of valid credentials.",
     "Login is fast", "The login shall answer within 200 ms for 99 % of requests."),
    ("Invoices are sent in time", "The billing service shall send each invoice within 24 hours.",
     "Invoices are correct", "The billing service shall compute each invoice without rounding errors."),
    ("Backups are restorable", "A backup shall be restorable within 4 hours.",
     "Backups are made", "A backup shall be made every 6 hours."),
    ("Queue lag stays low", "The order queue shall not lag more than 60 s.",
     "Queue depth", "The order queue shall hold fewer than 10,000 messages."),
    ("No order is lost", "Every accepted order shall be stored durably before it is acknowledged.",
     "Orders are confirmed", "A customer shall receive a confirmation of the order within 5 minutes."),
    ("API error rate", "The public API shall answer fewer than 0.1 % of requests with 5xx.",
     "API rate limit", "The public API shall answer 429 to clients over 100 requests per second."),
    ("Disk space", "Hosts shall keep 20 % of disk free.", "Memory", "Hosts shall keep 20 % of memory free."),
    ("Cache hit ratio", "The cache shall serve 90 % of reads.",
     "Cache latency", "The cache shall answer 99 % of reads within 2 ms."),
    ("Recovery of a region", "The suite shall recover from the loss of a region within 15 minutes.",
     "Recovery of a node", "The cluster shall recover from the loss of a node within 1 minute."),
    ("Certificates do not expire", "TLS certificates shall be renewed 14 days before they expire.",
     "Certificates are strong", "TLS certificates shall use keys of at least 2048 bits."),
    ("Pages load quickly", "The home page shall be interactive within 2 s for 95 % of visits.",
     "Product pages load quickly", "The product page shall be interactive within 2 s for 95 % of visits."),
    ("Checkout p99 latency", "The p99 latency of checkout shall be below 300 ms.",
     "Checkout p50 latency", "The p50 latency of checkout shall be below 50 ms."),
    ("Payments EU availability", "Payments in the EU shall succeed for 99.9 % of requests.",
     "Payments US availability", "Payments in the US shall succeed for 99.9 % of requests."),
]  # fmt: skip


async def suspected(embedder: Embedder, pairs: list[tuple[str, str, str, str]]) -> int:
    found = 0
    for title, body, other_title, other_body in pairs:
        one, other = await embedder.embed([f"{title}\n{body}", f"{other_title}\n{other_body}"])
        found += duplicates.is_suspected(float(one @ other), same_service=True)
    return found


async def test_what_is_suspected_is_nearly_always_one_and_half_of_them_are(embedder: Embedder) -> None:
    right, wrong = await suspected(embedder, SAME), await suspected(embedder, OTHERS)
    assert right / (right + wrong) >= 0.9
    assert right / len(SAME) >= 0.5


@pytest.mark.parametrize(
    ("similarity", "same", "across"), [(0.82, False, False), (0.85, True, False), (0.95, True, True)]
)
def test_of_two_services_more_likeness_is_needed(similarity: float, same: bool, across: bool) -> None:
    assert duplicates.is_suspected(similarity, same_service=True) is same
    assert duplicates.is_suspected(similarity, same_service=False) is across


def test_shared_words_are_told_as_they_stand_in_whatever_form() -> None:
    shared = duplicates.shared_words("The Checkout answers fast, the checkout!", "Fast answering of checkouts")
    assert shared == ["checkout", "answers", "fast"]
