"""`affirm explain`: what the books say of one loan, and what they were made by."""
