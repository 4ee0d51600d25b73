using Ioasis.Hardware;
using Ioasis.Intel.Architecture;

namespace Ioasis.Intel.Hardware;

/// <summary>What a space of the IOTLB belongs to: a requester and PASID (Table 17), and what their context was when it was filled.</summary>
internal readonly record struct SpaceKey(ulong Requester, ushort DomainId, uint Pasid, PasidTranslationType Type);

/// <summary>Translations of one requester and PASID in the realistic IOTLB.</summary>
internal sealed class Space(SpaceKey key) : TranslationSpace
{
    public SpaceKey Key { get; } = key;
}

/// <summary>
/// All that a request of one requester and PASID needs before its address is looked at. Immutable; the realistic context cache and
/// PASID cache consist of these.
/// </summary>
internal sealed class CachedContext
{
    /// <summary>See <see cref="Request.KeyOf"/>.</summary>
    public readonly ulong Key;

    /// <summary>IOVAs with any of these bits after adding <see cref="RangeBias"/> are beyond what is translated.</summary>
    public readonly ulong RangeMask;
    public readonly ulong RangeBias;

    /// <summary>Where translations are cached; null if nothing translates, or there is no IOTLB.</summary>
    public readonly Space? Space;
    public readonly DeviceCounters? Counters;
    public readonly Context Context;
    public readonly bool IsPassThrough;

    public CachedContext(ulong key, in Context context, Space? space, DeviceCounters? counters, ulong beyondMask)
    {
        Key = key;
        Context = context;
        Space = space;
        Counters = counters;
        IsPassThrough = context.Type == PasidTranslationType.PassThrough;
        if (IsPassThrough)
        {
            RangeMask = beyondMask;
        }
        else if (context.HasFirstStage)
        {
            int bits = 12 + (9 * context.FirstLevels);
            RangeBias = 1ul << (bits - 1);
            RangeMask = ~((1ul << bits) - 1);
        }
        else
        {
            RangeMask = ~(context.SecondLimit - 1);
        }
    }

    public ushort SourceId => (ushort)Key;
}

/// <summary>The value of an IOTLB entry: who may do what, decided when it is filled, so that a hit tests one bit.</summary>
internal static class TranslationValue
{
    public const int UserShift = 0;
    public const int SupervisorShift = 3;
    public const int ReadOffset = 0;
    public const int WriteOffset = 1;

    /// <summary>A translation as a value: rights to write only where no flag has to be set.</summary>
    public static ulong AttributesOf(in Translation translation) =>
        Bit(translation.UserRead, UserShift + ReadOffset)
        | Bit(translation.UserWrite && translation.IsDirty, UserShift + WriteOffset)
        | Bit(translation.SupervisorRead, SupervisorShift + ReadOffset)
        | Bit(translation.SupervisorWrite && translation.IsDirty, SupervisorShift + WriteOffset);

    private static ulong Bit(bool value, int position) => value ? 1ul << position : 0;
}
