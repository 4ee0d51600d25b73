using System.Globalization;
using Ioasis.Intel.Architecture;
using Ioasis.Intel.Driver;
using Ioasis.PageTables;
using Ioasis.PageTables.Formats;
using Ioasis.Primitives;

namespace Ioasis.Embedded;

// VT-d's options in text.
public sealed partial record VtdIommuSlot
{
    private const ulong PageRequestBits = ExtendedCapability.PageRequestBit | ExtendedCapability.StopMarkerBit;

    // What each option takes away, with everything that needs it (ECAP_REG, section 11.4.3).
    private static readonly Dictionary<string, ulong> s_features = new(StringComparer.Ordinal)
    {
        ["ats"] = PageRequestBits | ExtendedCapability.DeviceTlbBit | ExtendedCapability.NoWriteFlagBit | ExtendedCapability.PageRequestDrainBit,
        ["dirty"] = ExtendedCapability.SecondStageDirtyBit,
        ["nested"] = ExtendedCapability.NestedBit,
        ["pasid"] = ExtendedCapability.PasidBit | (0x1ful << ExtendedCapability.PasidSizeShift),
        ["pri"] = PageRequestBits,
        ["remap"] = ExtendedCapability.InterruptRemappingBit | ExtendedCapability.ExtendedInterruptModeBit,
        ["snoop"] = ExtendedCapability.SnoopControlBit,
    };

    // What legacy mode has not (section 3.4.2).
    private static readonly string[] s_scalableOnly = ["dirty", "nested", "pasid", "pri"];

    // The interrupt address range (section 3.15): no slot can move it.
    private static readonly AddressRange s_interruptRange = new(InterruptAddress.First, InterruptAddress.Last);

    private static readonly PageTableFormat[] s_secondStages =
        [PageTableFormat.Of<VtdStage2Level4>(), PageTableFormat.Of<VtdStage2Level3>(), PageTableFormat.Of<VtdStage2Level5>()];

    private static readonly PageTableFormat[] s_formats = [.. s_secondStages, PageTableFormat.Of<X64Level4>(), PageTableFormat.Of<X64Level5>()];

    private static readonly IommuSlotOption[] s_options =
    [
        .. IommuSlotOption.Common(s_formats),
        IommuSlotOption.Switch<VtdIommuSlot>(
            "legacy", static (slot, on) => slot with { Driver = slot.Driver with { Mode = on ? VtdMode.Legacy : VtdMode.Scalable } }),
        IommuSlotOption.Switch<VtdIommuSlot>(
            "caching-mode",
            static (slot, on) => slot with
            {
                Hardware = slot.Hardware with
                {
                    Capabilities = new((slot.Hardware.Capabilities.Value & ~Capability.CachingModeBit) | (on ? Capability.CachingModeBit : 0)),
                },
            }),
        new(
            "segment",
            "0…65535",
            static (slot, value) => slot is VtdIommuSlot vtd && ushort.TryParse(value, NumberStyles.None, CultureInfo.InvariantCulture, out ushort segment)
                ? vtd with { Hardware = vtd.Hardware with { Segment = segment } }
                : null),
        .. s_features.Keys.Select(static name => IommuSlotOption.Switch<VtdIommuSlot>(name, (slot, on) => slot.Switched(name, on))),
    ];

    /// <inheritdoc/>
    internal override IReadOnlyList<IommuSlotOption> Options => s_options;

    // Features that were asked for by name, and those that were taken away.
    private IReadOnlyList<string> Wanted { get; init; } = [];

    private IReadOnlyList<string> Absent { get; init; } = [];

    /// <inheritdoc/>
    public override string? FindConflict()
    {
        if (MsiWindow is { } window && window != s_interruptRange)
        {
            return $"the interrupt addresses of VT-d are {s_interruptRange} and cannot be {window}";
        }

        foreach (string name in Wanted)
        {
            if (Driver.Mode == VtdMode.Legacy && s_scalableOnly.Contains(name))
            {
                return $"{name}=on and legacy=on exclude each other: only scalable mode has it";
            }

            if (Absent.FirstOrDefault(absent => (s_features[absent] & s_features[name]) != 0) is { } missing)
            {
                return $"{name}=on and {missing}=off exclude each other: {name} needs {missing}";
            }
        }

        return base.FindConflict();
    }

    // Everything is there from the beginning. What is asked for must still be there in the end.
    private VtdIommuSlot Switched(string name, bool on) => on
        ? this with { Wanted = [.. Wanted, name] }
        : this with
        {
            Absent = [.. Absent, name],
            Hardware = Hardware with { ExtendedCapabilities = new(Hardware.ExtendedCapabilities.Value & ~s_features[name]) },
        };
}
