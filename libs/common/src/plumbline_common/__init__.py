"""What every Plumbline service shares. It knows no service and no business rule."""
