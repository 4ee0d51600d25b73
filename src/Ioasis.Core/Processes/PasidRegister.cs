using Ioasis.Primitives;

namespace Ioasis.Core;

/// <summary>
/// The PASID register of a thread (IA32_PASID, whose form this is): a PASID of 20 bits and a valid bit of the hardware's,
/// which is no part of the PASID (S2.5).
/// </summary>
/// <param name="Value">Bit 31 valid, bits 19:0 the PASID; the rest is 0.</param>
internal readonly record struct PasidRegister(uint Value)
{
    private const uint ValidBit = 1u << 31;

    /// <summary>Whether ENQCMD may use it.</summary>
    public bool IsValid => (Value & ValidBit) != 0;

    /// <summary>The PASID; <see cref="Pasid.Invalid"/> if it is not valid.</summary>
    public Pasid Pasid => IsValid ? new(Value & Pasid.MaxValue) : Pasid.Invalid;

    /// <summary>The register that holds a PASID; the empty one for an invalid PASID.</summary>
    public static PasidRegister For(Pasid pasid) => pasid.IsPresent ? new(pasid.Value | ValidBit) : default;
}
