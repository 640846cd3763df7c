"""How important each channel is: by learned switches or by a criterion, and how surely."""
