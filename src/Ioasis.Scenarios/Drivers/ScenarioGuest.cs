using System.Buffers.Binary;
using Ioasis.Core;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;
using Ioasis.RiscV.Driver;
using Ioasis.Scenarios.Checks;

namespace Ioasis.Scenarios.Drivers;

/// <summary>How a guest of a scenario writes its first stage and has it forgotten, on one kind of IOMMU.</summary>
internal abstract class ScenarioGuest
{
    /// <summary>Tables from the root to the one with the leaves, one page each.</summary>
    public abstract int Levels { get; }

    public static ScenarioGuest Of(IommuKind kind) => kind == IommuKind.RiscV ? new OfRiscV() : new OfVtd();

    /// <summary>The entry that leads to a table.</summary>
    public abstract ulong Link(ulong table);

    /// <summary>The entry that leads to a page.</summary>
    public abstract ulong Leaf(ulong page);

    /// <summary>Makes the domain of a table.</summary>
    public abstract NestedDomain Nest(IommuDevice device, PagingDomain parent, ulong root);

    /// <summary>Has one page forgotten.</summary>
    public void Invalidate(NestedDomain domain, ulong address)
    {
        TryInvalidate(domain, address, out uint done).ShouldBe(Errno.Success);
        done.ShouldBe(1u);
    }

    /// <summary>Asks that one page be forgotten.</summary>
    /// <param name="domain">The domain of the guest's table.</param>
    /// <param name="address">The page.</param>
    /// <param name="done">Requests that were carried out: 0 or 1.</param>
    public abstract Errno TryInvalidate(NestedDomain domain, ulong address, out uint done);

    /// <summary>Has the device forgotten, where a guest can ask for that, and one page.</summary>
    public virtual void InvalidateDevice(NestedDomain domain, ulong address) => Invalidate(domain, address);

    private sealed class OfRiscV : ScenarioGuest
    {
        private const uint Pscid = 3;

        public override int Levels => 3;

        public override ulong Link(ulong table) => PpnField.FromAddress(table) | PageTableEntry.ValidBit;

        public override ulong Leaf(ulong page) => PpnField.FromAddress(page) | PageTableEntry.ValidBit | PageTableEntry.ReadBit
            | PageTableEntry.WriteBit | PageTableEntry.UserBit | PageTableEntry.AccessedBit | PageTableEntry.DirtyBit;

        public override NestedDomain Nest(IommuDevice device, PagingDomain parent, ulong root)
        {
            byte[] data = Guest.Describe(0, (ulong)Pscid << 12, ((ulong)Iosatp.ModeSv39 << 60) | (root >> 12));
            device.Iommu.TryAllocateNestedDomain(device, parent, NestedTranslation.Type, data, out NestedDomain? domain)
                .ShouldBe(Errno.Success);
            return domain!;
        }

        public override Errno TryInvalidate(NestedDomain domain, ulong address, out uint done) =>
            Guest.Invalidate(domain, out done, Command.InvalidateFirstStage(null, Pscid, address));

        public override void InvalidateDevice(NestedDomain domain, ulong address) => Guest.ShouldInvalidate(
            (RiscVNestedDomain)domain,
            Command.InvalidateDeviceDirectory(9),
            Command.InvalidateFirstStage(null, Pscid, address));
    }

    // struct iommu_hwpt_vtd_s1 and struct iommu_hwpt_vtd_s1_invalidate (include/uapi/linux/iommufd.h).
    private sealed class OfVtd : ScenarioGuest
    {
        private const uint DataType = 1;
        private const int DataSize = 24;
        private const int TableOffset = 8;
        private const int WidthOffset = 16;
        private const uint InvalidateType = 0;
        private const int EntrySize = 24;
        private const int PagesOffset = 8;

        // P, R/W, U/S, A, D (VT-d specification, section 9.8).
        private const ulong Bits = 0x67;

        public override int Levels => 4;

        public override ulong Link(ulong table) => table | Bits;

        public override ulong Leaf(ulong page) => page | Bits;

        public override NestedDomain Nest(IommuDevice device, PagingDomain parent, ulong root)
        {
            byte[] data = new byte[DataSize];
            BinaryPrimitives.WriteUInt64LittleEndian(data.AsSpan(TableOffset), root);
            BinaryPrimitives.WriteUInt32LittleEndian(data.AsSpan(WidthOffset), 48);
            device.Iommu.TryAllocateNestedDomain(device, parent, DataType, data, out NestedDomain? domain)
                .ShouldBe(Errno.Success);
            return domain!;
        }

        public override Errno TryInvalidate(NestedDomain domain, ulong address, out uint done)
        {
            byte[] entry = new byte[EntrySize];
            BinaryPrimitives.WriteUInt64LittleEndian(entry, address);
            entry[PagesOffset] = 1;
            done = 1;
            return domain.Invalidate(InvalidateType, entry, entry.Length, ref done);
        }
    }
}
