namespace Ioasis.Devices.Dsa;

/// <summary>A Data Streaming Accelerator by a line of text: <c>dsa</c>.</summary>
internal static class DsaKind
{
    /// <summary>The kind.</summary>
    public static DeviceKind Kind { get; } = new(
        "dsa",
        "the Data Streaming Accelerator 8086:0b25, specification 1.x: work queues, batches, PASIDs, page faults",
        [
            new("queues", "work queues, 1 to 16; 8 as is"),
            new("groups", "groups and engines, 1 to 16 of each; 4 as is"),
            new("entries", "entries of all work queues together, 1 to 1024; 128 as is"),
            new("transfer", "log2 of the most bytes of a descriptor, 12 to 31; 16 as is"),
            new("batch", "log2 of the most descriptors of a batch, 1 to 15; 10 as is"),
            new("vectors", "vectors of MSI-X, 1 to 64; 9 as is"),
            new("pasid-bits", "PASID bits, 0 to 20; 20 as is"),
            new("ats", "on or off: it translates addresses itself; on as is"),
            new("pri", "on or off: it asks for missing pages; as ats"),
            new("event-log", "on or off: it has an event log; on as is"),
            new("handles", "on or off: drivers must ask for interrupt handles; off as is"),
        ],
        static settings =>
        {
            bool hasAts = settings.Switch("ats", true);
            return new DsaDevice(new()
            {
                Queues = (int)settings.Number("queues", 8, 1, 16),
                Groups = (int)settings.Number("groups", 4, 1, 16),
                Entries = (int)settings.Number("entries", 128, 1, 1024),
                TransferLog2 = (int)settings.Number("transfer", 16, 12, 31),
                BatchLog2 = (int)settings.Number("batch", 10, 1, 15),
                Vectors = (int)settings.Number("vectors", 9, 1, 64),
                PasidBits = (int)settings.Number("pasid-bits", 20, 0, 20),
                HasAts = hasAts,
                HasPageRequests = settings.Switch("pri", hasAts),
                HasEventLog = settings.Switch("event-log", true),
                NeedsHandles = settings.Switch("handles", false),
            });
        });
}
