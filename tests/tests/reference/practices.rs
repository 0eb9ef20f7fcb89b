//! B: practices that imply behaviour.
