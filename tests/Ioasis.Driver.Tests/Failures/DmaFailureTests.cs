using Ioasis.Core;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Testing;

namespace Ioasis.Driver.Tests.Failures;

/// <summary>
/// Every call of the DMA API that fails at any of its steps leaves no trace (invariant 3), and no IOVA or page comes back before the IOMMU has
/// confirmed: on RISC-V and on VT-d in each of its modes.
/// </summary>
[Trait("Requirement", "S4.14")]
[Trait("Requirement", "S4.15")]
public sealed class DmaFailureTests
{
    private const ulong Buffer = 0x8_1234_5000;
    private const ulong Long = 0x60_3000;
    private const ulong Short = 0x3000;
    private const ulong Coherent = 0x2_5000;
    private const ulong Direct = 0x7000_0000;

    /// <summary>What is called.</summary>
    public enum Call
    {
        /// <summary>A buffer is mapped.</summary>
        Map,

        /// <summary>A list of them.</summary>
        MapList,

        /// <summary>A buffer is unmapped and invalidated.</summary>
        Unmap,

        /// <summary>A buffer is unmapped, and there is no room for one more that waits.</summary>
        LazyUnmap,

        /// <summary>What waits is invalidated.</summary>
        Flush,

        /// <summary>A coherent buffer is allocated.</summary>
        Allocate,

        /// <summary>It is freed.</summary>
        Free,

        /// <summary>A domain with direct regions becomes the default of a group.</summary>
        MakeDefault,
    }

    public static TheoryData<string, Call, Failure> Calls
    {
        get
        {
            TheoryData<string, Call, Failure> all = [];
            foreach (string kind in Enum.GetNames<IommuKind>())
            {
                foreach (Call call in Enum.GetValues<Call>())
                {
                    foreach (Failure failure in Enum.GetValues<Failure>())
                    {
                        // A page table whose memory has failed takes nothing more (IoPageTable): only calls that leave it alone, or with it.
                        if (failure is not (Failure.Write or Failure.Read) || call is Call.Flush or Call.MakeDefault)
                        {
                            all.Add(kind, call, failure);
                        }
                    }
                }
            }

            return all;
        }
    }

    [Theory]
    [MemberData(nameof(Calls))]
    public void A_call_succeeds_or_leaves_nothing(string iommuKind, Call call, Failure failure)
    {
        IommuKind kind = Enum.Parse<IommuKind>(iommuKind);
        int steps = EveryFailure.Run(
            failure,
            kind,
            iommu => new State(kind, call, iommu),
            static state => state.Do(),
            (state, result) => state.ShouldHaveDone(result == Errno.Success, failure));

        // What was not present is cached in caching mode only; RISC-V may cache a context that is not valid.
        bool needsNone = failure.IsOfIommu() && kind != IommuKind.VtdCachingMode
            && (call is Call.Map or Call.MapList or Call.Allocate || (call == Call.MakeDefault && kind != IommuKind.RiscV));
        (steps > 0).ShouldBe(!needsNone, $"{steps} steps");
    }

    /// <summary>A device whose driver maps buffers, and what the call is to find.</summary>
    private sealed class State : DriverScenario, IFailureState
    {
        private readonly IommuKind _kind;
        private readonly Call _call;
        private readonly RangePageAllocator _buffers;
        private readonly IommuDevice _device;
        private readonly DmaDomainOptions _options;
        private readonly long _before;
        private readonly IReadOnlyList<(ulong First, ulong Last)> _free = [];
        private readonly DmaMappedSegment[] _segments = new DmaMappedSegment[1000];
        private readonly DmaDevice? _dma;
        private DmaDomain? _domain;
        private DmaCoherentBuffer? _coherent;
        private Iova _address;
        private int _count;
        private long _lost;

        public State(IommuKind kind, Call call, UnconfirmedIommu? iommu)
            : base(kind: kind, stopping: iommu)
        {
            (_kind, _call) = (kind, call);
            _buffers = new(PlainMemory, new(1ul << 36, (1ul << 37) - 1));
            Core.TryAddDevice(
                Drivers[0], new(0x10), "device", null,
                new() { ReservedRegions = call == Call.MakeDefault ? [new(new(Direct, Direct + Short - 1), ReservedRegionKind.Direct)] : null },
                out IommuDevice? device).ShouldBe(Errno.Success);
            _device = device!;
            _options = new()
            {
                Mode = call is Call.LazyUnmap or Call.Flush or Call.Free ? DmaMode.Lazy : DmaMode.Strict,
                QueueCapacity = call == Call.LazyUnmap ? 1 : 256,
                UseTimer = false,
                TimeProvider = iommu?.Time ?? Time,
            };
            _before = AllocatedBytes;
            if (call == Call.MakeDefault)
            {
                return;
            }

            MakeDefault().ShouldBe(Errno.Success);
            DmaDevice.TryOpen(_device, new() { Pages = _buffers, Memory = PlainMemory }, out _dma).ShouldBe(Errno.Success);
            _free = _domain!.Iovas.CheckTree();
            Prepare();
        }

        public Errno Do() => _call switch
        {
            Call.Map => _dma!.Map(new(Buffer), Long, DmaDirection.Bidirectional, out _address),
            Call.MapList => _dma!.MapScatterGather(
                [new(new(Buffer), Long), new(new(Buffer + 0x4000_0000), Long), new(new(Buffer + 0x100), 0x500)],
                DmaDirection.Bidirectional,
                _segments,
                out _count),
            Call.Unmap or Call.LazyUnmap => _dma!.Unmap(_address, Short),
            Call.Flush => _domain!.Flush(),
            Call.Allocate => _dma!.AllocateCoherent(Coherent, out _coherent),
            Call.Free => _coherent!.Free(),
            _ => MakeDefault(),
        };

        public void ShouldHaveKept()
        {
            // What the device may still reach is given to nobody.
            if (_call is Call.Unmap or Call.LazyUnmap or Call.Flush or Call.Map or Call.MapList)
            {
                _domain!.PendingCount.ShouldBe(1);
                _domain.Iovas.FlushCaches();
                _domain.Iovas.CheckTree().SequenceEqual(_free).ShouldBeFalse();
            }
            else if (_call is Call.Free or Call.Allocate)
            {
                _buffers.AllocatedBytes.ShouldBe((long)Coherent);
            }

            AllocatedBytes.ShouldBeGreaterThanOrEqualTo(_before);
        }

        public void ShouldHaveDone(bool isDone, Failure failure)
        {
            switch (_call)
            {
                case Call.Map or Call.MapList or Call.Allocate:
                    if (!isDone)
                    {
                        // Pages that the device may have seen, and that nobody confirmed to be out of its reach, are lost rather than reused.
                        _lost = _call == Call.Allocate && !failure.LeavesNothing() ? _buffers.AllocatedBytes : 0;
                        _lost.ShouldBeOneOf(0, (long)Coherent);
                        ShouldBeEmpty();
                        if (failure == Failure.Resource && _kind != IommuKind.VtdCachingMode)
                        {
                            // Where absence is cached, tables that a walk may be in stay the domain's.
                            AllocatedBytes.ShouldBe(_before + _domain!.Paging.TableBytes);
                        }

                        Do().ShouldBe(Errno.Success);
                    }

                    ShouldReachAll();
                    break;
                case Call.Unmap or Call.LazyUnmap or Call.Flush:
                    // It cannot be undone; what did not work is made good by the next flush.
                    _domain!.PendingCount.ShouldBe(isDone ? 0 : 1);
                    _domain.Flush().ShouldBe(Errno.Success);
                    ShouldNotReach(_address.Value, Buffer);
                    break;
                case Call.Free:
                    _buffers.AllocatedBytes.ShouldBe(isDone ? 0 : (long)Coherent);
                    _coherent!.Free().ShouldBe(Errno.Success);
                    ShouldNotReach(_coherent.Address.Value, null);
                    break;
                default:
                    ShouldHaveDefault(isDone, failure);
                    return;
            }

            ShouldBeEmpty();
            End(0);
        }

        private Errno MakeDefault()
        {
            Errno error = DmaDomain.TryCreate(_device, _options, out _domain);
            return error == Errno.Success ? _device.Group.SetDefaultDomain(_domain!) : error;
        }

        private void Prepare()
        {
            if (_call is Call.Unmap or Call.LazyUnmap or Call.Flush)
            {
                _dma!.Map(new(Buffer), Short, DmaDirection.Bidirectional, out _address).ShouldBe(Errno.Success);
                ShouldReach(_address.Value, Buffer, Short);
                if (_call == Call.Flush)
                {
                    _dma.Unmap(_address, Short).ShouldBe(Errno.Success);
                }
            }
            else if (_call == Call.Free)
            {
                _dma!.AllocateCoherent(Coherent, out _coherent).ShouldBe(Errno.Success);
                Dma(_device, _coherent!.Address.Value).ShouldBe(DmaStatus.Success);
            }
        }

        // And takes it back, so that nothing is left.
        private void ShouldReachAll()
        {
            switch (_call)
            {
                case Call.Map:
                    ShouldReach(_address.Value, Buffer, Long);
                    _dma!.Unmap(_address, Long).ShouldBe(Errno.Success);
                    ShouldNotReach(_address.Value, Buffer);
                    break;
                case Call.MapList:
                    _count.ShouldBeGreaterThan(2);
                    ShouldReach(_segments[0].Address.Value, Buffer, 0x1000);
                    _dma!.UnmapScatterGather(_segments.AsSpan(0, _count)).ShouldBe(Errno.Success);
                    ShouldNotReach(_segments[0].Address.Value, Buffer);
                    break;
                default:
                    Dma(_device, _coherent!.Address.Value + Coherent - 8).ShouldBe(DmaStatus.Success);
                    _buffers.AllocatedBytes.ShouldBe((long)Coherent + _lost);
                    _coherent.Free().ShouldBe(Errno.Success);
                    ShouldNotReach(_coherent.Address.Value, null);
                    break;
            }
        }

        private void ShouldHaveDefault(bool isDone, Failure failure)
        {
            _device.Group.DefaultDomain.Kind.ShouldBe(isDone ? DomainKind.Paging : DomainKind.Blocked);
            if (isDone)
            {
                ShouldReach(Direct, Direct, Short);
            }
            else
            {
                _device.Group.Domain.ShouldBeSameAs(BlockedDomain.Instance);
                Dma(_device, Direct).ShouldNotBe(DmaStatus.Success);
                if (failure == Failure.Resource)
                {
                    _domain?.Dispose();
                    _domain = null;
                    AllocatedBytes.ShouldBe(_before);
                    Drivers[0].Usage.AddressSpaces.ShouldBe(0);
                }
            }

            // What hung on an entry of a table that could not be written is not found again.
            End(!isDone && failure is (Failure.Write or Failure.Read) ? 3 * 4096 : 0);
        }

        private void ShouldBeEmpty()
        {
            _domain!.Flush().ShouldBe(Errno.Success);
            _domain.PendingCount.ShouldBe(0);
            _domain.Iovas.FlushCaches();
            _domain.Iovas.CheckTree().ShouldBe(_free);
            _buffers.AllocatedBytes.ShouldBe(_lost);
        }

        // With device, driver and domain everything goes.
        private void End(long left)
        {
            _dma?.Dispose();
            Core.RemoveDevice(_device);
            Iommus[0].RemoveDriver();
            _domain?.Dispose();
            AllocatedBytes.ShouldBeLessThanOrEqualTo(left);
            CheckAlways();
        }

        private void ShouldReach(ulong iova, ulong address, ulong length)
        {
            for (ulong offset = 0; offset < length; offset += length - 0x1000 > offset ? length - 0x1000 - offset : 0x1000)
            {
                Iommus[0].Port.Translate(
                    new(_device.Id, new(iova + offset), DmaFlags.Write, DmaKind.Untranslated, default), out DmaTranslation reached);
                reached.Status.ShouldBe(DmaStatus.Success);
                reached.Address.ShouldBe(new PhysicalAddress(address + offset));
            }

            CheckAlways();
        }

        private void ShouldNotReach(ulong iova, ulong? page)
        {
            if (page is { } revoked)
            {
                Oracle.Revoke(revoked);
            }

            Dma(_device, iova).ShouldNotBe(DmaStatus.Success);
            Iommus[0].HandleFaults();
            CheckAlways();
        }
    }
}
