using Ioasis.Primitives;

namespace Ioasis.Core;

/// <summary>Which free PASID an allocation takes.</summary>
internal enum PasidPolicy
{
    /// <summary>One that was not given back lately, so that a late use of an old one is seen.</summary>
    Cyclic,

    /// <summary>The lowest: keeps tables small.</summary>
    LowestFirst,

    /// <summary>Exactly <see cref="PasidRequest.First"/>.</summary>
    Fixed,
}

/// <summary>What an allocation asks for.</summary>
internal readonly record struct PasidRequest()
{
    /// <summary>Which one.</summary>
    public PasidPolicy Policy { get; init; }

    /// <summary>The lowest that suits, 1 or more (S2.6); with <see cref="PasidPolicy.Fixed"/> the only one.</summary>
    public Pasid First { get; init; } = new(1);

    /// <summary>The highest that suits: what the device and its IOMMU can send (S2.10). Ignored for a fixed one.</summary>
    public Pasid Last { get; init; } = new(Pasid.MaxValue);

    /// <summary>The private number under which the set will know it, or null (S0.9).</summary>
    public GuestPasid? Guest { get; init; }

    /// <summary>The caller's data, handed back by <see cref="Ioasid.Data"/>.</summary>
    public object? Data { get; init; }

    /// <summary>Whether the values are in range.</summary>
    internal bool IsValid =>
        (uint)Policy <= (uint)PasidPolicy.Fixed
        && First.IsPresent
        && (Policy == PasidPolicy.Fixed || (Last.IsPresent && First.Value <= Last.Value))
        && (Guest is not { } guest || guest.IsValid);
}
