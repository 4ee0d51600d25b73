using Ioasis.Intel.Architecture;
using Ioasis.Platform;

namespace Ioasis.Intel.Hardware;

/// <summary>
/// From a request and its context to a translation: first stage, second stage, both or none (sections 3.6 to 3.9), its rights, its flags, and the
/// interrupt address range (section 3.15).
/// </summary>
internal sealed class Translator
{
    private readonly HostMemory _memory;
    private readonly SecondStageWalker _second;
    private readonly FirstStageWalker _first;
    private readonly HostilePrefetcher? _prefetcher;
    private readonly bool _zeroLengthRead;
    private readonly int _passThroughSizeLog2;

    public Translator(VtdIommuOptions options, HostMemory memory, HostileTranslations? hostile)
    {
        _memory = memory;
        _second = new(options, memory, hostile);
        _first = new(options, memory, _second, hostile);
        _prefetcher = hostile is null ? null : new(memory, _first, _second, hostile);
        _zeroLengthRead = options.Capabilities.ZeroLengthRead;

        // "The largest page-size supported by remapping hardware" (section 4.2.3).
        _passThroughSizeLog2 = options.Capabilities.SecondStage1GiB || options.Capabilities.FirstStage1GiB ? 30
            : options.Capabilities.SecondStage2MiB || options.ExtendedCapabilities.Has(ExtendedCapability.FirstStageBit) ? 21 : 12;
    }

    /// <summary>Translates. A failure is in <see cref="Request.Fault"/>.</summary>
    public bool TryTranslate(ref Request request, in Context context, out Translation translation)
    {
        bool found = context.Type == PasidTranslationType.PassThrough
            ? TryPass(ref request, context, out translation)
            : TryWalk(ref request, context, out translation);
        return found && TryLeaveInterruptRange(ref request, context, ref translation);
    }

    /// <summary>Whether the rights of a translation suffice; if not, the fault is noted.</summary>
    public bool Permits(ref Request request, PasidTranslationType type, bool isLegacy, in Translation translation)
    {
        if (request.Kind == DmaKind.TranslationRequest)
        {
            return true;
        }

        bool write = translation.CanWrite(request.Supervisor);
        if (request.Reads && !translation.CanRead(request.Supervisor) && !(request.IsZeroLength && _zeroLengthRead && write))
        {
            bool isSupervisors = type is PasidTranslationType.FirstStage or PasidTranslationType.Nested
                && !request.Supervisor && !translation.UserRead && translation.SupervisorRead;
            return request.Fail(isSupervisors ? FaultReason.UserDenied : isLegacy ? FaultReason.ReadDenied : FaultReason.ScalableReadDenied);
        }

        return !request.Writes || write || request.Fail(isLegacy ? FaultReason.WriteDenied : FaultReason.ScalableWriteDenied);
    }

    private bool TryPass(ref Request request, in Context context, out Translation translation)
    {
        translation = new()
        {
            Address = request.Address,
            SizeLog2 = _passThroughSizeLog2,
            UserRead = true,
            UserWrite = true,
            SupervisorRead = true,
            SupervisorWrite = true,
            IsDirty = true,
        };
        return (request.Address & _memory.BeyondMask) == 0
            || request.Fail(context.IsLegacy ? FaultReason.AddressBeyondWidth : FaultReason.AddressBeyondHost);
    }

    private bool TryWalk(ref Request request, in Context context, out Translation translation)
    {
        for (int attempt = 0; ; attempt++)
        {
            Update end = context.HasFirstStage
                ? TryBothStages(ref request, context, out translation)
                : TrySecondStage(ref request, context, out translation);
            if (end != Update.Changed)
            {
                return end == Update.Done;
            }

            if (attempt >= SecondStageWalker.MaxAttempts)
            {
                return request.Fail(context.HasFirstStage ? FaultReason.FirstStageUpdateFailed : FaultReason.SecondStageUpdateFailed);
            }
        }
    }

    private Update TrySecondStage(ref Request request, in Context context, out Translation translation)
    {
        translation = default;
        if (request.Address >= context.SecondLimit)
        {
            request.Fault = context.IsLegacy ? FaultReason.AddressBeyondWidth : FaultReason.AddressBeyondSecondStage;
            return Update.Failed;
        }

        if (!_second.TryWalk(ref request, context, request.Address, out SecondStageLeaf leaf))
        {
            return Update.Failed;
        }

        translation = new()
        {
            Address = leaf.Address,
            SizeLog2 = leaf.SizeLog2,
            UserRead = leaf.Read,
            UserWrite = leaf.Write,
            SupervisorRead = leaf.Read && context.AllowsSupervisor,
            SupervisorWrite = leaf.Write && context.AllowsSupervisor,
            Snoop = leaf.Snoop,
        };
        if (!Permits(ref request, context.Type, context.IsLegacy, translation))
        {
            return Update.Failed;
        }

        Update update = request.Writes && leaf.Write ? _second.TrySetDirty(ref request, context, ref leaf) : Update.Done;
        translation.IsDirty = leaf.IsDirty;
        if (update == Update.Done)
        {
            Settle(request, context, ref translation);
            _prefetcher?.PrefetchSecondStage(request, context, leaf);
        }

        return update;
    }

    private Update TryBothStages(ref Request request, in Context context, out Translation translation)
    {
        translation = default;
        int bits = 12 + (9 * context.FirstLevels);
        if ((request.Address + (1ul << (bits - 1))) >> bits != 0)
        {
            request.Fault = FaultReason.NotCanonical;
            return Update.Failed;
        }

        if (!_first.TryWalk(ref request, context, out FirstStageLeaf leaf))
        {
            return Update.Failed;
        }

        SecondStageLeaf second = new() { Address = leaf.Address, SizeLog2 = leaf.SizeLog2, Read = true, Write = true, IsDirty = true };
        if (context.Type == PasidTranslationType.Nested && !_second.TryWalk(ref request, context, leaf.Address, out second))
        {
            return Update.Failed;
        }

        bool supervisorWrite = leaf.Write || !context.WriteProtect;
        translation = new()
        {
            Address = second.Address,
            SizeLog2 = Math.Min(leaf.SizeLog2, second.SizeLog2),
            FirstSizeLog2 = leaf.SizeLog2,
            UserRead = leaf.User && second.Read,
            UserWrite = leaf.User && leaf.Write && second.Write,
            SupervisorRead = context.AllowsSupervisor && second.Read,
            SupervisorWrite = context.AllowsSupervisor && supervisorWrite && second.Write,
            Snoop = second.Snoop,
        };
        if (!Permits(ref request, context.Type, isLegacy: false, translation))
        {
            return Update.Failed;
        }

        // D only for what is permitted: a request that faults may set A, but not D (section 3.6.2).
        bool writes = request.Writes && translation.CanWrite(request.Supervisor);
        ulong flags = FirstStageWalker.AccessedFlags(context) | (writes ? FirstStageEntry.DirtyBit : 0);
        Update update = _first.TrySetFlags(ref request, context, leaf.Place, leaf.PlaceIsWritable, leaf.Entry, flags);
        if (update == Update.Done && writes)
        {
            update = _second.TrySetDirty(ref request, context, ref second);
        }

        translation.IsDirty = (writes || leaf.IsDirty) && second.IsDirty;
        if (update == Update.Done)
        {
            Settle(request, context, ref translation);
            _prefetcher?.PrefetchFirstStage(request, context, leaf);
        }

        return update;
    }

    // Requests without PASID have the privilege of their context: caches need not know it.
    internal static void Settle(in Request request, in Context context, ref Translation translation)
    {
        if (request.HasPasid)
        {
            return;
        }

        if (context.RidPrivilege)
        {
            translation.UserRead = translation.SupervisorRead;
            translation.UserWrite = translation.SupervisorWrite;
        }
        else
        {
            translation.SupervisorRead = translation.UserRead;
            translation.SupervisorWrite = translation.UserWrite;
        }
    }

    private static bool TryLeaveInterruptRange(ref Request request, in Context context, ref Translation translation)
    {
        ulong start = translation.Address & ~((1ul << translation.SizeLog2) - 1);
        bool overlaps = start <= InterruptAddress.Last && start + ((1ul << translation.SizeLog2) - 1) >= InterruptAddress.First;
        if (!overlaps)
        {
            return true;
        }

        // A translation request gets a whole range (SGN.8.2); with pass-through only the address counts.
        bool inside = InterruptAddress.Contains(translation.Address)
            || (request.Kind == DmaKind.TranslationRequest && context.Type != PasidTranslationType.PassThrough);
        if (inside)
        {
            return request.Fail(context.IsLegacy ? FaultReason.OutputInInterruptRange : FaultReason.ScalableOutputInInterruptRange);
        }

        // No cache may serve the part of the page that is in the range.
        if (request.Kind != DmaKind.TranslationRequest)
        {
            translation.SizeLog2 = 12;
        }

        return true;
    }
}
