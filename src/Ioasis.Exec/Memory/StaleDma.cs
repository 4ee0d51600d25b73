namespace Ioasis.Exec;

/// <summary>An access of a device to memory that the program gave it and then took away or replaced: it reached nothing.</summary>
/// <param name="Process">The process whose memory it was.</param>
/// <param name="Address">Where in its memory, at the time of the map.</param>
/// <param name="Writes">Whether the device wrote.</param>
internal readonly record struct StaleDma(int Process, ulong Address, bool Writes);
