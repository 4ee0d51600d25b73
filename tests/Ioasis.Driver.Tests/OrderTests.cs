using System.Reflection;
using System.Reflection.Emit;
using Ioasis.Core;
using Ioasis.PageTables;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;
using Ioasis.RiscV.Driver;
using Ioasis.RiscV.Hardware;
using Ioasis.Testing;
using PageResponseCode = Ioasis.Core.PageResponseCode;

namespace Ioasis.Driver.Tests;

/// <summary>What must come before what, and what must not be left out on the way, where one thread is enough to see it.</summary>
public class OrderTests
{
    private const ulong Iova = 0x4000_0000;
    private const ulong Target = 0x8000_0000;

    [Theory]
    [InlineData(0, 0)]
    [InlineData(8, 0)]
    [InlineData(8, 5)]
    [Trait("Requirement", "S4.3")]
    [Trait("Requirement", "S4.8")]
    public void What_an_unplugged_device_cached_is_not_seen_by_the_next_that_gets_its_PSCID(int pasidBits, uint process)
    {
        // One PSCID only, so that it must be used again.
        using Rig rig = new(new() { Driver = new() { PscidBits = 1 } });
        Pasid pasid = process == 0 ? Pasid.None : new(process);
        IommuDevice first = rig.AddDevice(0x10, pasidBits);
        RiscVPagingDomain old = rig.NewDomain(first);
        old.ShouldMap(Iova, Target);
        first.Attach(pasid, old).ShouldBe(Errno.Success);
        rig.ShouldReach(first, Iova, Target, pasid: pasid);
        rig.Core.RemoveDevice(first);
        old.BondCount.ShouldBe(0);

        IommuDevice second = rig.AddDevice(0x18, pasidBits);
        RiscVPagingDomain fresh = rig.NewDomain(second);
        second.Attach(pasid, fresh).ShouldBe(Errno.Success);
        _ = rig.ShouldFault(second, Iova, FaultCause.ReadPageFault, pasid: pasid);
    }

    [Fact]
    [Trait("Requirement", "S4.5")]
    [Trait("Requirement", "S4.17")]
    public void A_guests_root_that_is_switched_in_place_is_forgotten_by_the_device_that_cached_through_the_old()
    {
        using Rig rig = new();
        IommuDevice device = rig.AddDevice(0x10, ats: true);
        PagingDomain parent = rig.NewSecondStage(device);
        using Guest guest = new(rig.Memory, parent);
        IoPageTable other = guest.NewTable();
        guest.Map(Iova, Guest.Data);
        guest.Map(Iova, Guest.Data + 0x1000, other);
        device.Group.Attach(guest.Nest(device, 1)).ShouldBe(Errno.Success);
        rig.CacheOf(device).Fetch(Iova, Pasid.None).ShouldBeTrue();
        device.Group.Attach(guest.Nest(device, 1, other)).ShouldBe(Errno.Success);
        rig.CacheOf(device).Knows(Iova, Pasid.None).ShouldBeFalse();
    }

    [Fact]
    [Trait("Requirement", "S4.13")]
    public void The_ring_is_never_filled_to_its_last_slot()
    {
        HeldBack held = null!;
        using Rig rig = new(new()
        {
            Registers = window => held = new(window),
            Driver = new() { CommandQueueSizeLog2 = 3, TimeProvider = new CreepingTime() },
        });
        held.IsOn = true;
        List<ulong> tickets = [];
        for (int i = 0; i < 64; i++)
        {
            rig.Driver.Commands.Submit(
                [.. Enumerable.Repeat(Command.InvalidateFirstStage(null, 1, null), 1 + (i / 16 % 3))], BatchKind.None, out ulong ticket)
                .ShouldBe(Errno.Success);
            tickets.Add(ticket);
        }

        tickets.ForEach(ticket => rig.Driver.Commands.Wait(ticket).ShouldBe(Errno.Success));
        held.Most.ShouldBeLessThanOrEqualTo(7u, "a full ring looks like an empty one");
        held.Most.ShouldBeGreaterThan(4u);
        rig.Driver.Statistics.QueueRecoveries.ShouldBe(0);
    }

    [Theory]
    [InlineData(8, RiscVIommuOptions.FullCapabilities, 0xffu)]
    [InlineData(10, RiscVIommuOptions.FullCapabilities, 0x3ffu)]
    [InlineData(20, RiscVIommuOptions.FullCapabilities, 0xf_ffffu)]
    [InlineData(20, RiscVIommuOptions.FullCapabilities & ~Capabilities.Pd20Bit, 0x1_ffffu)]
    [InlineData(20, RiscVIommuOptions.FullCapabilities & ~(Capabilities.Pd20Bit | Capabilities.Pd17Bit), 0xffu)]
    [Trait("Requirement", "S2.10")]
    public void A_PASID_is_within_what_the_device_and_the_IOMMU_can_carry(int deviceBits, ulong capabilities, uint last)
    {
        using Rig rig = new(new() { Capabilities = capabilities });
        IommuDevice device = rig.AddDevice(0x10, deviceBits);
        RiscVPagingDomain domain = rig.NewDomain(device);
        domain.ShouldMap(Iova, Target);
        device.Group.AttachPasid(new(last), domain).ShouldBe(Errno.Success);
        rig.ShouldReach(device, Iova, Target, pasid: new(last));
        if (last < Pasid.MaxValue)
        {
            device.Group.AttachPasid(new(last + 1), domain).ShouldBe(Errno.InvalidArgument);
        }
    }

    [Fact]
    [Trait("Requirement", "S0.14")]
    public void A_table_of_a_directory_is_complete_before_it_is_linked()
    {
        LinkLog log = null!;
        using Rig rig = new(new() { DriverMemory = memory => log = new(memory) });
        IommuDevice device = rig.AddDevice(0xab_cdef, 20);
        RiscVPagingDomain domain = rig.NewDomain(device);
        log.OutOfOrder.ShouldBeNull();
        log.Links.ShouldBeGreaterThan(2);
        device.Group.AttachPasid(new(0xf_ffff), domain).ShouldBe(Errno.Success);
        log.OutOfOrder.ShouldBeNull();
    }

    [Theory]
    [InlineData(0xab_cdefu, null)]
    [InlineData(0x10u, 0xf_ffffu)]
    [Trait("Requirement", "S0.14")]
    public void Memory_that_fails_while_a_directory_grows_leaves_no_pointer_to_what_was_given_back(uint id, uint? pasid)
    {
        for (int n = 1; ; n++)
        {
            FailingWrites failing = null!;
            using Rig rig = new(new() { DriverMemory = memory => failing = new(memory) });
            IommuDevice? device = pasid is null ? null : rig.AddDevice(id, 20);
            RiscVPagingDomain? domain = device is null ? null : rig.NewDomain(device);
            failing.Left = n;
            Errno error = device is null
                ? rig.Core.TryAddDevice(rig.Driver, new(id), "device", null, new() { PasidBits = 20 }, out device)
                : device.Group.AttachPasid(new(pasid!.Value), domain!);
            bool failed = failing.Left <= 0;
            failing.Left = int.MaxValue;
            (error == Errno.Success).ShouldBe(!failed, $"write {n}");
            if (!failed)
            {
                n.ShouldBeGreaterThan(2);
                return;
            }

            // Whatever was given back is somebody else's now, who fills it with what looks like valid entries.
            byte[] ones = new byte[4096];
            Array.Fill(ones, (byte)0xff);
            for (int i = 0; i < 8; i++)
            {
                rig.Pages.TryAllocate(12, IPageAllocator.AnyNode, out PhysicalAddress page).ShouldBeTrue();
                rig.Memory.Write(page, ones).ShouldBe(MemoryStatus.Success);
            }

            Pasid used = pasid is { } value ? new(value) : Pasid.None;
            rig.Hardware.Translate(
                new(new(id), new(Iova), used.IsPresent ? DmaFlags.PasidValid : DmaFlags.None, DmaKind.Untranslated, used), out _);
            rig.HandleInterrupts();
            IommuFault fault = rig.Sink.Faults[^1];
            ((FaultCause)fault.Cause).ShouldBe(pasid is null ? FaultCause.DdtEntryNotValid : FaultCause.PdtEntryNotValid, $"write {n}");
        }
    }

    [Fact]
    [Trait("Requirement", "S4.17")]
    public void A_page_request_of_an_unknown_device_is_answered_as_invalid()
    {
        // The record that the driver reads names a device which it does not know.
        RenamedRequests renamed = null!;
        using Rig rig = new(new() { DriverMemory = memory => renamed = new(memory) });
        IommuDevice device = rig.AddDevice(0x10, pasidBits: 8, ats: true, pageRequests: true);
        device.Group.AttachPasid(new(5), rig.NewDomain(device)).ShouldBe(Errno.Success);
        renamed.From = 0x10;
        renamed.To = 0x1234;
        ulong payload = Iova | PageRequestPayload.ReadBit | (0x55ul << PageRequestPayload.GroupShift);
        rig.Hardware.HandlePageRequest(new(PcieMessageCode.PageRequest, 0x10, 0, new(5), payload));
        rig.HandleInterrupts();
        rig.Responses.ShouldBeEmpty();
        rig.Hardware.HandlePageRequest(new(PcieMessageCode.PageRequest, 0x10, 0, new(5), payload | PageRequestPayload.LastBit));
        rig.HandleInterrupts();
        PcieMessage response = rig.Responses.ShouldHaveSingleItem();
        response.RequesterId.ShouldBe((ushort)0x1234);
        (response.Payload >> PageRequestPayload.ResponseGroupShift & 0x1ff).ShouldBe(0x55ul);
        (response.Payload >> PageRequestPayload.ResponseCodeShift & 0xf).ShouldBe((ulong)PageResponseCode.InvalidRequest);
    }

    // No machine shows the absence of a barrier for certain, so the code itself is looked at: Acquire has one after it publishes a bond,
    // and every way to the bonds of an invalidation has one before.
    [Theory]
    [InlineData("Invalidate", "_bonds", true)]
    [InlineData("Acquire", "_bonds", false)]
    [InlineData("AddAts", "_atsBonds", false)]
    [Trait("Requirement", "S4.7")]
    public void A_full_barrier_stands_between_the_tables_and_the_bonds(string method, string field, bool isBefore)
    {
        MethodInfo[] methods = [.. typeof(BondSet).GetMethods(BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.Instance)
            .Where(m => m.Name == method)];
        methods.ShouldNotBeEmpty();
        foreach (MethodInfo one in methods)
        {
            List<string> used = Used(one);
            int barrier = isBefore ? used.IndexOf(nameof(Interlocked.MemoryBarrier)) : used.LastIndexOf(nameof(Interlocked.MemoryBarrier));
            int bonds = isBefore ? used.IndexOf(field) : used.LastIndexOf(field);
            barrier.ShouldBeGreaterThanOrEqualTo(0, $"{one} has no barrier");
            bonds.ShouldBeGreaterThanOrEqualTo(0);
            (barrier < bonds).ShouldBe(isBefore, $"{one}: {string.Join(' ', used)}");
        }
    }

    // Names of the methods that a method calls and of the fields it uses, in the order of its code.
    private static List<string> Used(MethodInfo method)
    {
        Dictionary<short, OpCode> codes = typeof(OpCodes).GetFields().Select(static f => (OpCode)f.GetValue(null)!).ToDictionary(static c => c.Value);
        byte[] code = method.GetMethodBody()!.GetILAsByteArray()!;
        List<string> used = [];
        for (int at = 0; at < code.Length;)
        {
            short value = code[at++];
            OpCode op = codes[value == 0xfe ? (short)(0xfe00 | code[at++]) : value];
            if (op.OperandType is OperandType.InlineMethod or OperandType.InlineField or OperandType.InlineTok)
            {
                Type[]? generics = method.IsGenericMethod ? method.GetGenericArguments() : null;
                used.Add(method.Module.ResolveMember(BitConverter.ToInt32(code, at), null, generics)!.Name);
            }

            at += op.OperandType switch
            {
                OperandType.InlineNone => 0,
                OperandType.ShortInlineBrTarget or OperandType.ShortInlineI or OperandType.ShortInlineVar => 1,
                OperandType.InlineVar => 2,
                OperandType.InlineI8 or OperandType.InlineR => 8,
                OperandType.InlineSwitch => 4 + (4 * BitConverter.ToInt32(code, at)),
                _ => 4,
            };
        }

        return used;
    }

    /// <summary>Hardware that takes a command whenever somebody looks at the head, and knows how many it was ever given at once.</summary>
    private sealed class HeldBack(IRegisterWindow inner) : RegisterDecorator(inner)
    {
        private uint _given;
        private uint _tail;

        public bool IsOn { get; set; }

        /// <summary>Most commands that were in the ring.</summary>
        public uint Most { get; private set; }

        public override uint Read32(uint offset)
        {
            if (IsOn && offset == RegisterOffset.CommandQueueHead && _given != _tail)
            {
                uint before = base.Read32(offset);
                _given = (_given + 1) & 7;
                base.Write32(RegisterOffset.CommandQueueTail, _given);
                return before;
            }

            return base.Read32(offset);
        }

        public override void Write32(uint offset, uint value)
        {
            if (offset != RegisterOffset.CommandQueueTail || !IsOn)
            {
                base.Write32(offset, value);
                (_given, _tail) = offset == RegisterOffset.CommandQueueTail ? (value, value) : (_given, _tail);
                return;
            }

            // As many as the driver has put there; if that is all of them, the hardware would see none.
            uint put = (value - _tail) & 7;
            uint held = ((_tail - base.Read32(RegisterOffset.CommandQueueHead)) & 7) + put;
            Most = Math.Max(Most, held);
            _tail = value;
        }
    }

    /// <summary>Memory that knows which pages valid entries point at, and whether a link into such a page came after the link to it.</summary>
    private sealed class LinkLog(IPhysicalMemory inner) : MemoryDecorator(inner)
    {
        private const ulong Pool = 1ul << 32;
        private readonly HashSet<ulong> _linked = [];

        public int Links { get; private set; }

        public string? OutOfOrder { get; private set; }

        public override MemoryStatus Write64(PhysicalAddress address, ulong value)
        {
            ulong target = (value >> 10) << 12;
            bool isLink = (value & 0x3ff) == DirectoryEntry.ValidBit && target >= Pool && target < 2 * Pool;
            if (isLink)
            {
                Links++;
                if (_linked.Contains(address.Value & ~0xffful) && _linked.Add(target))
                {
                    OutOfOrder = $"0x{target:x} is linked in 0x{address.Value:x}, a page that was linked before";
                }

                _ = _linked.Add(target);
            }

            return base.Write64(address, value);
        }
    }

    /// <summary>Memory that refuses one write, and works again then.</summary>
    private sealed class FailingWrites(IPhysicalMemory inner) : MemoryDecorator(inner)
    {
        public int Left { get; set; } = int.MaxValue;

        public override MemoryStatus Write64(PhysicalAddress address, ulong value)
        {
            // Commands have no part in this: a queue that stops is another story.
            bool isCommand = (value & 0x7f) is > 1 and <= 4 && (address.Value & 0xf) == 0;
            return !isCommand && Left != int.MaxValue && --Left == 0 ? MemoryStatus.AccessFault : base.Write64(address, value);
        }
    }

    /// <summary>Memory that shows the driver another device's ID in page requests.</summary>
    private sealed class RenamedRequests(IPhysicalMemory inner) : MemoryDecorator(inner)
    {
        public uint From { get; set; }

        public uint To { get; set; }

        public override MemoryStatus Read64(PhysicalAddress address, out ulong value)
        {
            MemoryStatus status = base.Read64(address, out value);
            if (From != 0 && value >> 40 == From)
            {
                value = (value & ((1ul << 40) - 1)) | ((ulong)To << 40);
            }

            return status;
        }
    }
}
