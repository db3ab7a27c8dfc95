"""What an auditor asks of the books: `affirm verify`, `affirm explain`, `affirm replay`."""
