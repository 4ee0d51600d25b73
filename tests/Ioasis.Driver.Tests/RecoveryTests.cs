using Ioasis.Core;
using Ioasis.PageTables;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;
using Ioasis.RiscV.Driver;
using Ioasis.RiscV.Hardware;
using Ioasis.Testing;

namespace Ioasis.Driver.Tests;

/// <summary>
/// A command queue that fails at random positions under several threads: whatever a call says is done is done, and nobody waits
/// for ever (S4.15).
/// </summary>
[Collection("schedules")]
public class RecoveryTests
{
    private const int Rounds = 400;

    /// <summary>What goes wrong.</summary>
    public enum Trouble
    {
        /// <summary>The hardware cannot read a command: CQMF.</summary>
        Unreadable,

        /// <summary>The hardware reads nonsense: CMD_ILL.</summary>
        Illegal,

        /// <summary>A device lets an ATS invalidation time out: CMD_TO.</summary>
        TimedOut,

        /// <summary>All of it.</summary>
        Everything,
    }

    [Theory]
    [InlineData(Trouble.Unreadable, 1)]
    [InlineData(Trouble.Unreadable, 2)]
    [InlineData(Trouble.Illegal, 3)]
    [InlineData(Trouble.Illegal, 4)]
    [InlineData(Trouble.TimedOut, 5)]
    [InlineData(Trouble.Everything, 6)]
    [Trait("Requirement", "S4.15")]
    public void An_unmap_that_succeeds_has_taken_place_whatever_befell_the_queue(Trouble trouble, int seed)
    {
        TroubledMemory? memory = null;
        using AtsRig rig = new(inner => memory = new(inner, seed), new() { CommandQueueSizeLog2 = 6 });
        memory!.Locate(rig.Hardware);
        IommuDevice device = rig.AddDevice(0x10, ats: trouble is Trouble.TimedOut or Trouble.Everything);
        PagingDomain first = rig.NewDomain(device);
        PagingDomain second = rig.NewDomain(device, isSecondStage: true);
        IommuDevice other = rig.AddDevice(0x18, ats: false);
        device.Group.Attach(first).ShouldBe(Errno.Success);
        other.Group.Attach(second).ShouldBe(Errno.Success);
        long unconfirmed = 0;
        memory.IsUnreadable = trouble is Trouble.Unreadable or Trouble.Everything;
        memory.IsIllegal = trouble is Trouble.Illegal or Trouble.Everything;
        bool misses = trouble is Trouble.TimedOut or Trouble.Everything;
        Exception? failure = null;
        Thread[] threads = [.. Enumerable.Range(0, 3).Select(index => new Thread(() =>
        {
            try
            {
                Work(index);
            }
            catch (Exception exception)
            {
                failure = exception;
            }
        }))];
        foreach (Thread thread in threads)
        {
            thread.Start();
        }

        foreach (Thread thread in threads)
        {
            thread.Join(TimeSpan.FromSeconds(100)).ShouldBeTrue("a thread waits for ever");
        }

        failure.ShouldBeNull();
        memory.IsUnreadable = memory.IsIllegal = false;
        rig.Driver.Statistics.QueueRecoveries.ShouldBeGreaterThan(0);

        // An error is an exception, not the rule: most was made good by trying again. A round counts once, however long its queue stays off.
        unconfirmed.ShouldBeLessThan(3 * Rounds / 10);
        device.Group.Detach().ShouldBe(Errno.Success);
        other.Group.Detach().ShouldBe(Errno.Success);
        first.Dispose();
        second.Dispose();

        // Each thread has its own window, of the first stage or of the second.
        void Work(int index)
        {
            PagingDomain domain = index == 2 ? second : first;
            DeviceId id = index == 2 ? other.Id : device.Id;
            for (uint round = 0; round < Rounds; round++)
            {
                ulong iova = ((ulong)(index + 1) << 24) + (round % 5 * Rig.Page);
                ulong address = (1ul << 34) + ((ulong)round << 12);
                if (misses && index == 0 && round % 50 == 7)
                {
                    rig.CacheOf(device).Misses = 1;
                }

                domain.Map(new(iova), new(address), Rig.Page, Access.ReadWrite).ShouldBe(Errno.Success);
                rig.Hardware.Translate(new(id, new(iova)), out DmaTranslation reached);
                reached.Address.Value.ShouldBe(address, $"round {round}");
                InvalidationGather gather = default;
                domain.Unmap(new(iova), Rig.Page, ref gather).ShouldBe(Rig.Page);
                Errno error = domain.Sync(ref gather);
                _ = Interlocked.Add(ref unconfirmed, error == Errno.Success ? 0 : 1);
                while (error != Errno.Success)
                {
                    // The queue was given up; it is tried again after a while, and until then the page stays taken.
                    error.ShouldBe(Errno.IoError);
                    Thread.Sleep(100);
                    error = domain.Sync(ref gather);
                }

                rig.Hardware.Translate(new(id, new(iova)), out reached);
                reached.Status.ShouldNotBe(DmaStatus.Success, $"round {round}: {iova:x} is stale");
            }
        }
    }

    /// <summary>Memory in which the command ring cannot always be read, or says something else, as the hardware sees it.</summary>
    private sealed class TroubledMemory(IPhysicalMemory inner, int seed) : MemoryDecorator(inner)
    {
        private readonly Random _random = new(seed);
        private ulong _start = ulong.MaxValue;
        private ulong _size;

        public bool IsUnreadable { get; set; }

        public bool IsIllegal { get; set; }

        public void Locate(RiscVIommu hardware)
        {
            ulong register = hardware.Read64(RegisterOffset.CommandQueueBase);
            _start = PpnField.ToAddress(register);
            _size = (2ul << (int)(register & QueueBase.Log2SizeMinus1Mask)) * QueueBase.CommandSize;
        }

        public override MemoryStatus Read64(PhysicalAddress address, out ulong value)
        {
            bool isCommand = address.Value - _start < _size && (address.Value & 15) == 0;
            int fate = isCommand && (IsUnreadable || IsIllegal) ? Next() : 0;
            if (fate == 1 && IsUnreadable)
            {
                value = 0;
                return MemoryStatus.AccessFault;
            }

            MemoryStatus status = base.Read64(address, out value);
            value |= fate == 2 && IsIllegal ? CommandBits.OpcodeMask : 0;
            return status;
        }

        public override MemoryStatus Read(PhysicalAddress address, Span<byte> destination)
        {
            bool isCommand = address.Value - _start < _size;
            int fate = isCommand && (IsUnreadable || IsIllegal) ? Next() : 0;
            if (fate == 1 && IsUnreadable)
            {
                return MemoryStatus.AccessFault;
            }

            MemoryStatus status = base.Read(address, destination);
            if (fate == 2 && IsIllegal)
            {
                destination[0] |= (byte)CommandBits.OpcodeMask;
            }

            return status;
        }

        private int Next()
        {
            lock (_random)
            {
                return _random.Next(30);
            }
        }
    }
}
