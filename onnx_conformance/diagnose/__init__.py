"""Why a case failed: the first node that diverges, the simplest inputs, a bundle to repeat it."""
