namespace Ioasis.Devices.Ioat;

/// <summary>An I/OAT engine by a line of text: <c>ioat</c>.</summary>
internal static class IoatKind
{
    /// <summary>The kind.</summary>
    public static DeviceKind Kind { get; } = new(
        "ioat",
        "the I/OAT (QuickData, CBDMA) engine 8086:2021, version 3.3: copies, fills",
        [new("xfercap", "log2 of the most bytes of a descriptor, 12 to 20; 16 as is")],
        static settings => new IoatDevice(new() { TransferLog2 = (int)settings.Number("xfercap", 16, 12, 20) }));
}
