//! Q: questions to the plugin manager.
