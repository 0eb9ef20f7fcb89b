//! The methods of a plugin by their names in `Description.methods`.

/// All are required, in the order in which a missing one is looked for.
pub const METHODS: [&str; 11] = [
    "Name",
    "Version",
    "Description",
    "Author",
    "Dependencies",
    "Initialize",
    "Start",
    "Stop",
    "Cleanup",
    "ConfigSchema",
    "OnConfigChange",
];
