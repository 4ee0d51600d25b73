using Ioasis.Uapi;

namespace Ioasis.Client;

/// <summary>What the hardware in front of a device says of itself.</summary>
/// <param name="Type">Layout of <paramref name="Data"/>, as Ioasis.Uapi has them by architecture; 0 for none.</param>
/// <param name="Data">The description.</param>
/// <param name="PasidBits">PASID bits of the device, 0 if it has none.</param>
/// <param name="Capabilities">What every kind of hardware can say.</param>
public sealed record HardwareInfo(uint Type, ReadOnlyMemory<byte> Data, int PasidBits, HwCapabilities Capabilities);
