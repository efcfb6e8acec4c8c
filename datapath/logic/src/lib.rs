//! Packet decisions as plain functions.
#![no_std]
