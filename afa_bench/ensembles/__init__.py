"""N denoisers as one."""
