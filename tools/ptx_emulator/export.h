// Marks the functions that the shared library exports; everything else is hidden.
#pragma once

#define PTX_EMULATOR_EXPORT __attribute__((visibility("default")))
